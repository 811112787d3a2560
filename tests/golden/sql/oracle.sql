-- append to a table that is not there
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AMOUNT" NUMBER(12, 2), "AT" TIMESTAMP, "SEEN" TIMESTAMP WITH TIME ZONE, "DAY" DATE, "OK" NUMBER(1, 0), "raw" BLOB);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AMOUNT" NUMBER(12, 2), "AT" TIMESTAMP, "SEEN" TIMESTAMP WITH TIME ZONE, "DAY" DATE, "OK" NUMBER(1, 0), "raw" BLOB);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
CREATE TABLE "SALES"."ORDERS" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AMOUNT" NUMBER(12, 2), "AT" TIMESTAMP, "SEEN" TIMESTAMP WITH TIME ZONE, "DAY" DATE, "OK" NUMBER(1, 0), "raw" BLOB);
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 6 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw") SELECT "ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw") SELECT "ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
-- commit

-- append to one that is there, with a new column
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AMOUNT" NUMBER(12, 2), "AT" TIMESTAMP, "SEEN" TIMESTAMP WITH TIME ZONE, "DAY" DATE, "OK" NUMBER(1, 0), "raw" BLOB);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
ALTER TABLE "SALES"."ORDERS" ADD ("raw" BLOB);
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw") SELECT "ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
-- commit

-- overwrite
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AMOUNT" NUMBER(12, 2), "AT" TIMESTAMP, "SEEN" TIMESTAMP WITH TIME ZONE, "DAY" DATE, "OK" NUMBER(1, 0), "raw" BLOB);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
DELETE FROM "SALES"."ORDERS";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw") SELECT "ID", "NAME", "AMOUNT", "AT", "SEEN", "DAY", "OK", "raw" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
-- commit

-- merge by the primary key
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" GROUP BY "ID" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
MERGE INTO "SALES"."ORDERS" t USING (SELECT "ID", "NAME", "AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" WHERE 1 = 1) s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT" WHEN NOT MATCHED THEN INSERT ("ID", "NAME", "AT") VALUES (s."ID", s."NAME", s."AT");
-- commit

-- merge with last_by and delete_marker, in two bundles
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "GONE" NUMBER(1, 0));
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "GONE" NUMBER(1, 0));
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_last" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_last" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "GONE" NUMBER(1, 0));
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 6 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID", "NAME", "AT", "GONE") SELECT "ID", "NAME", "AT", "GONE" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_last" ("ID", "NAME", "AT", "GONE") SELECT "ID", "NAME", "AT", "GONE" FROM (SELECT "ID", "NAME", "AT", "GONE", row_number() OVER (PARTITION BY "ID" ORDER BY CASE WHEN "AT" IS NULL THEN 1 ELSE 0 END, "AT" DESC, "ID", "NAME", "GONE") AS dh_number FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000") n WHERE dh_number = 1;
DELETE FROM "SALES"."ORDERS" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_last" s WHERE "SALES"."ORDERS"."ID" = s."ID" AND s."GONE" = 1);
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_last" WHERE "GONE" = 1;
MERGE INTO "SALES"."ORDERS" t USING (SELECT "ID", "NAME", "AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_last" WHERE 1 = 1) s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT" WHEN NOT MATCHED THEN INSERT ("ID", "NAME", "AT") VALUES (s."ID", s."NAME", s."AT");
-- commit

-- merge where nothing makes the key unique
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" GROUP BY "ID" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
MERGE INTO "SALES"."ORDERS" t USING "SALES"."_dh_stage_f461d8aef4b03955_00000000" s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AT") SELECT s."ID", s."NAME", s."AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" s WHERE NOT EXISTS (SELECT 1 FROM "SALES"."ORDERS" t WHERE t."ID" = s."ID");
-- commit

-- merge into a table that is not there
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
CREATE TABLE "SALES"."ORDERS" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, PRIMARY KEY ("ID"));
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" GROUP BY "ID" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
MERGE INTO "SALES"."ORDERS" t USING "SALES"."_dh_stage_f461d8aef4b03955_00000000" s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AT") SELECT s."ID", s."NAME", s."AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" s WHERE NOT EXISTS (SELECT 1 FROM "SALES"."ORDERS" t WHERE t."ID" = s."ID");
-- commit

-- read
SELECT min("ID"), max("ID") FROM "SALES"."ORDERS";
SELECT "ID", "NAME" FROM "SALES"."ORDERS" WHERE (amount > 5) AND (("ID" < 333334 OR "ID" IS NULL));
SELECT "ID", "NAME" FROM "SALES"."ORDERS" WHERE (amount > 5) AND (("ID" >= 333334 AND "ID" < 666667));
SELECT "ID", "NAME" FROM "SALES"."ORDERS" WHERE (amount > 5) AND ("ID" >= 666667);
-- what is new by id: "ID" IS NULL OR ("ID" >= 7)
-- what is new by amount: "AMOUNT" >= 7.50
-- what is new by day: all is read, and compared here
-- what is new by at: "AT" >= TIMESTAMP '2025-01-01 00:00:00'
-- what is new by seen: "SEEN" >= TIMESTAMP '2025-01-01 00:00:00 +00:00'
SELECT "ID", "NAME" FROM (select * from sales.orders where id = 1
) dh_query;

-- delete_insert by key
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
DELETE FROM "SALES"."ORDERS" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" s WHERE "SALES"."ORDERS"."ID" = s."ID");
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AT") SELECT "ID", "NAME", "AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
-- commit

-- delete_insert by a condition
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000" WHERE CASE WHEN id > 1 THEN 0 ELSE 1 END = 1;
DELETE FROM "SALES"."ORDERS" WHERE id > 1;
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "AT") SELECT "ID", "NAME", "AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
-- commit

-- scd1
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "DH_ORIGIN" NUMBER(19, 0));
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "AT", "DH_ORIGIN") SELECT "ID", "NAME", "AT", 0 FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", "AT", count(*) FROM (SELECT DISTINCT "ID", "AT", "NAME" AS dh_value_0 FROM "SALES"."_dh_stage_f461d8aef4b03955_points") d GROUP BY "ID", "AT" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "AT", "DH_ORIGIN") SELECT t."ID", t."NAME", t."AT", 1 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID", "NAME", "AT") SELECT "ID", "NAME", "AT" FROM (SELECT "ID", "NAME", "AT", dh_origin, row_number() OVER (PARTITION BY "ID" ORDER BY CASE WHEN "AT" IS NULL THEN 1 ELSE 0 END, "AT" DESC, dh_origin, "ID", "NAME", "AT") AS dh_place FROM "SALES"."_dh_stage_f461d8aef4b03955_points") p5 WHERE dh_place = 1 AND dh_origin = 0;
MERGE INTO "SALES"."ORDERS" t USING (SELECT "ID", "NAME", "AT" FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" WHERE 1 = 1) s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT" WHEN NOT MATCHED THEN INSERT ("ID", "NAME", "AT") VALUES (s."ID", s."NAME", s."AT");
-- commit

-- scd2
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP, "DH_END" TIMESTAMP, "DH_DEAD" NUMBER(19, 0), "DH_ORIGIN" NUMBER(19, 0));
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP, "VALID_TO" TIMESTAMP, "IS_CURRENT" NUMBER(1, 0), "DH_SAME" NUMBER(19, 0));
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_ORIGIN", "DH_DEAD") SELECT "ID", "NAME", "VALID_FROM", 0, 0 FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", "VALID_FROM", count(*) FROM (SELECT DISTINCT "ID", "VALID_FROM", "NAME" AS dh_value_0, "DH_DEAD" AS dh_value_1 FROM "SALES"."_dh_stage_f461d8aef4b03955_points") d GROUP BY "ID", "VALID_FROM" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_END", "DH_DEAD", "DH_ORIGIN") SELECT t."ID", t."NAME", t."VALID_FROM", t."VALID_TO", CASE WHEN t."VALID_TO" = t."VALID_FROM" THEN 1 ELSE 0 END, 1 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_END", "DH_DEAD", "DH_ORIGIN") SELECT t."ID", t."NAME", t."VALID_TO", t."VALID_TO", 1, 2 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID" WHERE t."VALID_TO" > t."VALID_FROM";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID", "NAME", "VALID_FROM", "VALID_TO", "IS_CURRENT", "DH_SAME") SELECT "ID", "NAME", dh_since, CASE WHEN dh_dead = 1 THEN dh_since ELSE dh_next END, CASE WHEN dh_dead = 0 AND dh_next IS NULL THEN 1 ELSE 0 END, CASE WHEN dh_origin = 1 AND "VALID_FROM" = dh_since AND (dh_next = dh_end OR (dh_next IS NULL AND dh_end IS NULL) OR dh_dead = 1) THEN 1 ELSE 0 END FROM (SELECT p5.*, lead(dh_since) OVER (PARTITION BY "ID" ORDER BY dh_since) AS dh_next FROM (SELECT p4.*, min("VALID_FROM") OVER (PARTITION BY "ID", dh_part) AS dh_since, row_number() OVER (PARTITION BY "ID", dh_part ORDER BY "VALID_FROM" DESC) AS dh_last FROM (SELECT p3.*, sum(dh_begins) OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_part FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, CASE WHEN dh_was IS NULL OR dh_was <> dh_dead THEN 1 WHEN dh_dead = 1 THEN 0 WHEN CASE WHEN "NAME" = dh_0 OR ("NAME" IS NULL AND dh_0 IS NULL) THEN 0 ELSE 1 END = 1 THEN 1 ELSE 0 END AS dh_begins FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, lag(dh_dead) OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_was, lag("NAME") OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_0 FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, row_number() OVER (PARTITION BY "ID", "VALID_FROM" ORDER BY dh_origin, "ID", "NAME", "VALID_FROM") AS dh_place FROM "SALES"."_dh_stage_f461d8aef4b03955_points") p1 WHERE dh_place = 1) p2) p3) p4) p5 WHERE dh_last = 1) p6 WHERE dh_dead = 0 OR dh_part = 1;
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin <> 1;
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" s WHERE "SALES"."_dh_stage_f461d8aef4b03955_points"."ID" = s."ID" AND "SALES"."_dh_stage_f461d8aef4b03955_points"."VALID_FROM" = s."VALID_FROM");
DELETE FROM "SALES"."ORDERS" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_points" s WHERE "SALES"."ORDERS"."ID" = s."ID" AND "SALES"."ORDERS"."VALID_FROM" = s."VALID_FROM");
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" WHERE dh_same = 1;
MERGE INTO "SALES"."ORDERS" t USING "SALES"."_dh_stage_f461d8aef4b03955_rows" s ON (t."ID" = s."ID" AND t."VALID_FROM" = s."VALID_FROM") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."VALID_TO" = s."VALID_TO", t."IS_CURRENT" = s."IS_CURRENT";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "VALID_FROM", "VALID_TO", "IS_CURRENT") SELECT s."ID", s."NAME", s."VALID_FROM", s."VALID_TO", s."IS_CURRENT" FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" s WHERE NOT EXISTS (SELECT 1 FROM "SALES"."ORDERS" t WHERE t."ID" = s."ID" AND t."VALID_FROM" = s."VALID_FROM");
-- commit

-- scd2 into a table that is not there
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP NOT NULL, "GONE" NUMBER(1, 0));
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
CREATE TABLE "SALES"."ORDERS" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP, "VALID_TO" TIMESTAMP, "IS_CURRENT" NUMBER(1, 0), PRIMARY KEY ("ID", "VALID_FROM"));
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP, "DH_END" TIMESTAMP, "DH_DEAD" NUMBER(19, 0), "DH_ORIGIN" NUMBER(19, 0));
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "VALID_FROM" TIMESTAMP, "VALID_TO" TIMESTAMP, "IS_CURRENT" NUMBER(1, 0), "DH_SAME" NUMBER(19, 0));
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_ORIGIN", "DH_DEAD") SELECT "ID", "NAME", "VALID_FROM", 0, CASE WHEN "GONE" = 1 THEN 1 ELSE 0 END FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", "VALID_FROM", count(*) FROM (SELECT DISTINCT "ID", "VALID_FROM", "NAME" AS dh_value_0, "DH_DEAD" AS dh_value_1 FROM "SALES"."_dh_stage_f461d8aef4b03955_points") d GROUP BY "ID", "VALID_FROM" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_END", "DH_DEAD", "DH_ORIGIN") SELECT t."ID", t."NAME", t."VALID_FROM", t."VALID_TO", CASE WHEN t."VALID_TO" = t."VALID_FROM" THEN 1 ELSE 0 END, 1 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "VALID_FROM", "DH_END", "DH_DEAD", "DH_ORIGIN") SELECT t."ID", t."NAME", t."VALID_TO", t."VALID_TO", 1, 2 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID" WHERE t."VALID_TO" > t."VALID_FROM";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID", "NAME", "VALID_FROM", "VALID_TO", "IS_CURRENT", "DH_SAME") SELECT "ID", "NAME", dh_since, CASE WHEN dh_dead = 1 THEN dh_since ELSE dh_next END, CASE WHEN dh_dead = 0 AND dh_next IS NULL THEN 1 ELSE 0 END, CASE WHEN dh_origin = 1 AND "VALID_FROM" = dh_since AND (dh_next = dh_end OR (dh_next IS NULL AND dh_end IS NULL) OR dh_dead = 1) THEN 1 ELSE 0 END FROM (SELECT p5.*, lead(dh_since) OVER (PARTITION BY "ID" ORDER BY dh_since) AS dh_next FROM (SELECT p4.*, min("VALID_FROM") OVER (PARTITION BY "ID", dh_part) AS dh_since, row_number() OVER (PARTITION BY "ID", dh_part ORDER BY "VALID_FROM" DESC) AS dh_last FROM (SELECT p3.*, sum(dh_begins) OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_part FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, CASE WHEN dh_was IS NULL OR dh_was <> dh_dead THEN 1 WHEN dh_dead = 1 THEN 0 WHEN CASE WHEN "NAME" = dh_0 OR ("NAME" IS NULL AND dh_0 IS NULL) THEN 0 ELSE 1 END = 1 THEN 1 ELSE 0 END AS dh_begins FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, lag(dh_dead) OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_was, lag("NAME") OVER (PARTITION BY "ID" ORDER BY "VALID_FROM") AS dh_0 FROM (SELECT "ID", "NAME", "VALID_FROM", dh_end, dh_dead, dh_origin, row_number() OVER (PARTITION BY "ID", "VALID_FROM" ORDER BY dh_origin, "ID", "NAME", "VALID_FROM") AS dh_place FROM "SALES"."_dh_stage_f461d8aef4b03955_points") p1 WHERE dh_place = 1) p2) p3) p4) p5 WHERE dh_last = 1) p6 WHERE dh_dead = 0 OR dh_part = 1;
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin <> 1;
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" s WHERE "SALES"."_dh_stage_f461d8aef4b03955_points"."ID" = s."ID" AND "SALES"."_dh_stage_f461d8aef4b03955_points"."VALID_FROM" = s."VALID_FROM");
DELETE FROM "SALES"."ORDERS" WHERE EXISTS (SELECT 1 FROM "SALES"."_dh_stage_f461d8aef4b03955_points" s WHERE "SALES"."ORDERS"."ID" = s."ID" AND "SALES"."ORDERS"."VALID_FROM" = s."VALID_FROM");
DELETE FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" WHERE dh_same = 1;
MERGE INTO "SALES"."ORDERS" t USING "SALES"."_dh_stage_f461d8aef4b03955_rows" s ON (t."ID" = s."ID" AND t."VALID_FROM" = s."VALID_FROM") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."VALID_TO" = s."VALID_TO", t."IS_CURRENT" = s."IS_CURRENT";
INSERT INTO "SALES"."ORDERS" ("ID", "NAME", "VALID_FROM", "VALID_TO", "IS_CURRENT") SELECT s."ID", s."NAME", s."VALID_FROM", s."VALID_TO", s."IS_CURRENT" FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" s WHERE NOT EXISTS (SELECT 1 FROM "SALES"."ORDERS" t WHERE t."ID" = s."ID" AND t."VALID_FROM" = s."VALID_FROM");
-- commit

-- scd3
CREATE TABLE "SALES"."_beam_datahub_ledger" (run_id VARCHAR2(200 CHAR) NOT NULL, step VARCHAR2(200 CHAR) NOT NULL, target VARCHAR2(400 CHAR) NOT NULL, staging VARCHAR2(40 CHAR) NOT NULL, owner VARCHAR2(1000 CHAR) NOT NULL, begun_at VARCHAR2(40 CHAR) NOT NULL, committed_at VARCHAR2(40 CHAR), row_count NUMBER(19), PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM "SALES"."_beam_datahub_ledger";
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out';
INSERT INTO "SALES"."_beam_datahub_ledger" (run_id, step, target, staging, owner, begun_at) VALUES ('run1', 'out', 'sales.orders', '_dh_stage_f461d8aef4b03955_', 'OWNER', 'MOMENT');
-- begin
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_00000000" ("ID" NUMBER(19, 0) NOT NULL, "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP);
-- commit
-- 3 rows into "SALES"."_dh_stage_f461d8aef4b03955_00000000"
SELECT row_count FROM "SALES"."_beam_datahub_ledger" WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NOT NULL;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
BEGIN EXECUTE IMMEDIATE 'DROP TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" PURGE'; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "PREVIOUS_NAME" VARCHAR2(4000 CHAR), "DH_ORIGIN" NUMBER(19, 0));
CREATE TABLE "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID" NUMBER(19, 0), "NAME" VARCHAR2(4000 CHAR), "AT" TIMESTAMP, "PREVIOUS_NAME" VARCHAR2(4000 CHAR));
-- begin
UPDATE "SALES"."_beam_datahub_ledger" SET committed_at = 'MOMENT', row_count = 3 WHERE run_id = 'run1' AND step = 'out' AND committed_at IS NULL;
SELECT count(*) FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "AT", "DH_ORIGIN") SELECT "ID", "NAME", "AT", 0 FROM "SALES"."_dh_stage_f461d8aef4b03955_00000000";
SELECT "ID", "AT", count(*) FROM (SELECT DISTINCT "ID", "AT", "NAME" AS dh_value_0 FROM "SALES"."_dh_stage_f461d8aef4b03955_points") d GROUP BY "ID", "AT" HAVING count(*) > 1 FETCH FIRST 1 ROWS ONLY;
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_points" ("ID", "NAME", "AT", "PREVIOUS_NAME", "DH_ORIGIN") SELECT t."ID", t."NAME", t."AT", t."PREVIOUS_NAME", 1 FROM "SALES"."ORDERS" t JOIN (SELECT DISTINCT "ID" FROM "SALES"."_dh_stage_f461d8aef4b03955_points" WHERE dh_origin = 0) k ON t."ID" = k."ID";
INSERT INTO "SALES"."_dh_stage_f461d8aef4b03955_rows" ("ID", "NAME", "AT", "PREVIOUS_NAME") SELECT "ID", "NAME", "AT", CASE WHEN dh_at_0 IS NOT NULL THEN dh_old_0 ELSE dh_kept_0 END FROM (SELECT p4.*, first_value("NAME") OVER (PARTITION BY "ID" ORDER BY CASE WHEN dh_place = dh_at_0 THEN 0 ELSE 1 END, dh_place) AS dh_old_0, first_value("PREVIOUS_NAME") OVER (PARTITION BY "ID" ORDER BY dh_place DESC) AS dh_kept_0 FROM (SELECT p3.*, min(dh_other_0) OVER (PARTITION BY "ID") AS dh_at_0 FROM (SELECT p2.*, CASE WHEN CASE WHEN "NAME" = dh_newest_0 OR ("NAME" IS NULL AND dh_newest_0 IS NULL) THEN 0 ELSE 1 END = 1 THEN dh_place END AS dh_other_0 FROM (SELECT p1.*, min(CASE WHEN dh_origin = 1 THEN dh_place END) OVER (PARTITION BY "ID") AS dh_there, first_value("NAME") OVER (PARTITION BY "ID" ORDER BY dh_place) AS dh_newest_0 FROM (SELECT "ID", "NAME", "AT", "PREVIOUS_NAME", dh_origin, row_number() OVER (PARTITION BY "ID" ORDER BY CASE WHEN "AT" IS NULL THEN 1 ELSE 0 END, "AT" DESC, dh_origin, "ID", "NAME", "AT") AS dh_place FROM "SALES"."_dh_stage_f461d8aef4b03955_points") p1) p2 WHERE dh_there IS NULL OR dh_place <= dh_there) p3) p4) p5 WHERE dh_place = 1 AND dh_origin = 0;
MERGE INTO "SALES"."ORDERS" t USING (SELECT "ID", "NAME", "AT", "PREVIOUS_NAME" FROM "SALES"."_dh_stage_f461d8aef4b03955_rows" WHERE 1 = 1) s ON (t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NAME" = s."NAME", t."AT" = s."AT", t."PREVIOUS_NAME" = s."PREVIOUS_NAME" WHEN NOT MATCHED THEN INSERT ("ID", "NAME", "AT", "PREVIOUS_NAME") VALUES (s."ID", s."NAME", s."AT", s."PREVIOUS_NAME");
-- commit
