-- append to a table that is not there
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT, [name] NVARCHAR(max), [amount] NUMERIC(12, 2), [at] DATETIME2(6), [seen] DATETIMEOFFSET(6), [day] DATE, [ok] BIT, [raw] VARBINARY(max));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT, [name] NVARCHAR(max), [amount] NUMERIC(12, 2), [at] DATETIME2(6), [seen] DATETIMEOFFSET(6), [day] DATE, [ok] BIT, [raw] VARBINARY(max));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 6 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
CREATE TABLE [sales].[orders] ([id] BIGINT, [name] NVARCHAR(max), [amount] NUMERIC(12, 2), [at] DATETIME2(6), [seen] DATETIMEOFFSET(6), [day] DATE, [ok] BIT, [raw] VARBINARY(max));
INSERT INTO [sales].[orders] ([id], [name], [amount], [at], [seen], [day], [ok], [raw]) SELECT [id], [name], [amount], [at], [seen], [day], [ok], [raw] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
INSERT INTO [sales].[orders] ([id], [name], [amount], [at], [seen], [day], [ok], [raw]) SELECT [id], [name], [amount], [at], [seen], [day], [ok], [raw] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- append to one that is there, with a new column
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT, [name] NVARCHAR(max), [amount] NUMERIC(12, 2), [at] DATETIME2(6), [seen] DATETIMEOFFSET(6), [day] DATE, [ok] BIT, [raw] VARBINARY(max));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
ALTER TABLE [sales].[orders] ADD [raw] VARBINARY(max) NULL;
INSERT INTO [sales].[orders] ([id], [name], [amount], [at], [seen], [day], [ok], [raw]) SELECT [id], [name], [amount], [at], [seen], [day], [ok], [raw] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- overwrite
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT, [name] NVARCHAR(max), [amount] NUMERIC(12, 2), [at] DATETIME2(6), [seen] DATETIMEOFFSET(6), [day] DATE, [ok] BIT, [raw] VARBINARY(max));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
DELETE FROM [sales].[orders];
INSERT INTO [sales].[orders] ([id], [name], [amount], [at], [seen], [day], [ok], [raw]) SELECT [id], [name], [amount], [at], [seen], [day], [ok], [raw] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- merge by the primary key
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] GROUP BY [id] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] WHERE 1 = 1) s ON (t.[id] = s.[id]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[at] = s.[at] WHEN NOT MATCHED THEN INSERT ([id], [name], [at]) VALUES (s.[id], s.[name], s.[at]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_last];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- merge with last_by and delete_marker, in two bundles
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6), [gone] BIT);
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6), [gone] BIT);
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 6 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id], [name], [at], [gone]) SELECT [id], [name], [at], [gone] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_last] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6), [gone] BIT);
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_last] ([id], [name], [at], [gone]) SELECT [id], [name], [at], [gone] FROM (SELECT [id], [name], [at], [gone], row_number() OVER (PARTITION BY [id] ORDER BY CASE WHEN [at] IS NULL THEN 1 ELSE 0 END, [at] DESC, CAST(CAST([id] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([gone] AS NVARCHAR(max)) AS VARBINARY(max))) AS dh_number FROM [sales].[_dh_stage_f461d8aef4b03955_00000000]) n WHERE dh_number = 1;
DELETE FROM [sales].[orders] WHERE EXISTS (SELECT 1 FROM [sales].[_dh_stage_f461d8aef4b03955_last] s WHERE [sales].[orders].[id] = s.[id] AND s.[gone] = 1);
DELETE FROM [sales].[_dh_stage_f461d8aef4b03955_last] WHERE [gone] = 1;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_last] WHERE 1 = 1) s ON (t.[id] = s.[id]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[at] = s.[at] WHEN NOT MATCHED THEN INSERT ([id], [name], [at]) VALUES (s.[id], s.[name], s.[at]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_last];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- merge where nothing makes the key unique
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] GROUP BY [id] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
UPDATE t SET t.[name] = s.[name], t.[at] = s.[at] FROM [sales].[orders] t INNER JOIN [sales].[_dh_stage_f461d8aef4b03955_00000000] s ON t.[id] = s.[id];
INSERT INTO [sales].[orders] ([id], [name], [at]) SELECT s.[id], s.[name], s.[at] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] s WHERE NOT EXISTS (SELECT 1 FROM [sales].[orders] t WHERE t.[id] = s.[id]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_last];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- merge into a table that is not there
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
CREATE TABLE [sales].[orders] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6), PRIMARY KEY ([id]));
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] GROUP BY [id] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] WHERE 1 = 1) s ON (t.[id] = s.[id]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[at] = s.[at] WHEN NOT MATCHED THEN INSERT ([id], [name], [at]) VALUES (s.[id], s.[name], s.[at]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_last];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- read
SELECT min([id]), max([id]) FROM [sales].[orders];
SELECT [id], [name] FROM [sales].[orders] WHERE (amount > 5) AND (([id] < 333334 OR [id] IS NULL));
SELECT [id], [name] FROM [sales].[orders] WHERE (amount > 5) AND (([id] >= 333334 AND [id] < 666667));
SELECT [id], [name] FROM [sales].[orders] WHERE (amount > 5) AND ([id] >= 666667);
-- what is new by id: [id] IS NULL OR ([id] >= 7)
-- what is new by amount: [amount] >= 7.50
-- what is new by day: [day] >= CAST(N'2025-01-01' AS DATE)
-- what is new by at: all is read, and compared here
-- what is new by seen: all is read, and compared here
SELECT [id], [name] FROM (select * from sales.orders where id = 1
) dh_query;

-- delete_insert by key
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
DELETE FROM [sales].[orders] WHERE EXISTS (SELECT 1 FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] s WHERE [sales].[orders].[id] = s.[id]);
INSERT INTO [sales].[orders] ([id], [name], [at]) SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- delete_insert by a condition
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000] WHERE CASE WHEN id > 1 THEN 0 ELSE 1 END = 1;
DELETE FROM [sales].[orders] WHERE id > 1;
INSERT INTO [sales].[orders] ([id], [name], [at]) SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- scd1
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_points] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6), [dh_origin] BIGINT);
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_rows] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6));
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [at], [dh_origin]) SELECT [id], [name], [at], 0 FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], [at], count(*) FROM (SELECT DISTINCT [id], [at], CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_0 FROM [sales].[_dh_stage_f461d8aef4b03955_points]) d GROUP BY [id], [at] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [at], [dh_origin]) SELECT t.[id], t.[name], t.[at], 1 FROM [sales].[orders] t JOIN (SELECT DISTINCT [id] FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE dh_origin = 0) k ON t.[id] = k.[id];
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_rows] ([id], [name], [at]) SELECT [id], [name], [at] FROM (SELECT [id], [name], [at], dh_origin, row_number() OVER (PARTITION BY [id] ORDER BY CASE WHEN [at] IS NULL THEN 1 ELSE 0 END, [at] DESC, dh_origin, CAST(CAST([id] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([at] AS NVARCHAR(max)) AS VARBINARY(max))) AS dh_place FROM [sales].[_dh_stage_f461d8aef4b03955_points]) p5 WHERE dh_place = 1 AND dh_origin = 0;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [at] FROM [sales].[_dh_stage_f461d8aef4b03955_rows] WHERE 1 = 1) s ON (t.[id] = s.[id]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[at] = s.[at] WHEN NOT MATCHED THEN INSERT ([id], [name], [at]) VALUES (s.[id], s.[name], s.[at]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_points];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_rows];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- scd2
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [valid_from] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_points] ([id] BIGINT, [name] NVARCHAR(max), [valid_from] DATETIME2(6), [dh_end] DATETIME2(6), [dh_dead] BIGINT, [dh_origin] BIGINT);
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_rows] ([id] BIGINT, [name] NVARCHAR(max), [valid_from] DATETIME2(6), [valid_to] DATETIME2(6), [is_current] BIT, [dh_same] BIGINT);
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [valid_from], [dh_origin], [dh_dead]) SELECT [id], [name], [valid_from], 0, 0 FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], [valid_from], count(*) FROM (SELECT DISTINCT [id], [valid_from], CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_0, CAST(CAST([dh_dead] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_1 FROM [sales].[_dh_stage_f461d8aef4b03955_points]) d GROUP BY [id], [valid_from] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [valid_from], [dh_end], [dh_dead], [dh_origin]) SELECT t.[id], t.[name], t.[valid_from], t.[valid_to], CASE WHEN t.[valid_to] = t.[valid_from] THEN 1 ELSE 0 END, 1 FROM [sales].[orders] t JOIN (SELECT DISTINCT [id] FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE dh_origin = 0) k ON t.[id] = k.[id];
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [valid_from], [dh_end], [dh_dead], [dh_origin]) SELECT t.[id], t.[name], t.[valid_to], t.[valid_to], 1, 2 FROM [sales].[orders] t JOIN (SELECT DISTINCT [id] FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE dh_origin = 0) k ON t.[id] = k.[id] WHERE t.[valid_to] > t.[valid_from];
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_rows] ([id], [name], [valid_from], [valid_to], [is_current], [dh_same]) SELECT [id], [name], dh_since, CASE WHEN dh_dead = 1 THEN dh_since ELSE dh_next END, CASE WHEN dh_dead = 0 AND dh_next IS NULL THEN 1 ELSE 0 END, CASE WHEN dh_origin = 1 AND [valid_from] = dh_since AND (dh_next = dh_end OR (dh_next IS NULL AND dh_end IS NULL) OR dh_dead = 1) THEN 1 ELSE 0 END FROM (SELECT p5.*, lead(dh_since) OVER (PARTITION BY [id] ORDER BY dh_since) AS dh_next FROM (SELECT p4.*, min([valid_from]) OVER (PARTITION BY [id], dh_part) AS dh_since, row_number() OVER (PARTITION BY [id], dh_part ORDER BY [valid_from] DESC) AS dh_last FROM (SELECT p3.*, sum(dh_begins) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_part FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, CASE WHEN dh_was IS NULL OR dh_was <> dh_dead THEN 1 WHEN dh_dead = 1 THEN 0 WHEN CASE WHEN CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) = CAST(CAST(dh_0 AS NVARCHAR(max)) AS VARBINARY(max)) OR (CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL AND CAST(CAST(dh_0 AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL) THEN 0 ELSE 1 END = 1 THEN 1 ELSE 0 END AS dh_begins FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, lag(dh_dead) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_was, lag([name]) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_0 FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, row_number() OVER (PARTITION BY [id], [valid_from] ORDER BY dh_origin, CAST(CAST([id] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([valid_from] AS NVARCHAR(max)) AS VARBINARY(max))) AS dh_place FROM [sales].[_dh_stage_f461d8aef4b03955_points]) p1 WHERE dh_place = 1) p2) p3) p4) p5 WHERE dh_last = 1) p6 WHERE dh_dead = 0 OR dh_part = 1;
DELETE FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE dh_origin <> 1;
DELETE FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE EXISTS (SELECT 1 FROM [sales].[_dh_stage_f461d8aef4b03955_rows] s WHERE [sales].[_dh_stage_f461d8aef4b03955_points].[id] = s.[id] AND [sales].[_dh_stage_f461d8aef4b03955_points].[valid_from] = s.[valid_from]);
DELETE FROM [sales].[orders] WHERE EXISTS (SELECT 1 FROM [sales].[_dh_stage_f461d8aef4b03955_points] s WHERE [sales].[orders].[id] = s.[id] AND [sales].[orders].[valid_from] = s.[valid_from]);
DELETE FROM [sales].[_dh_stage_f461d8aef4b03955_rows] WHERE dh_same = 1;
UPDATE t SET t.[name] = s.[name], t.[valid_to] = s.[valid_to], t.[is_current] = s.[is_current] FROM [sales].[orders] t INNER JOIN [sales].[_dh_stage_f461d8aef4b03955_rows] s ON t.[id] = s.[id] AND t.[valid_from] = s.[valid_from];
INSERT INTO [sales].[orders] ([id], [name], [valid_from], [valid_to], [is_current]) SELECT s.[id], s.[name], s.[valid_from], s.[valid_to], s.[is_current] FROM [sales].[_dh_stage_f461d8aef4b03955_rows] s WHERE NOT EXISTS (SELECT 1 FROM [sales].[orders] t WHERE t.[id] = s.[id] AND t.[valid_from] = s.[valid_from]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_points];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_rows];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- scd2 into a table that is not there
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [valid_from] DATETIME2(6) NOT NULL, [gone] BIT);
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
CREATE TABLE [sales].[orders] ([id] BIGINT, [name] NVARCHAR(max), [valid_from] DATETIME2(6), [valid_to] DATETIME2(6), [is_current] BIT, PRIMARY KEY ([id], [valid_from]));
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_points] ([id] BIGINT, [name] NVARCHAR(max), [valid_from] DATETIME2(6), [dh_end] DATETIME2(6), [dh_dead] BIGINT, [dh_origin] BIGINT);
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_rows] ([id] BIGINT, [name] NVARCHAR(max), [valid_from] DATETIME2(6), [valid_to] DATETIME2(6), [is_current] BIT, [dh_same] BIGINT);
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [valid_from], [dh_origin], [dh_dead]) SELECT [id], [name], [valid_from], 0, CASE WHEN [gone] = 1 THEN 1 ELSE 0 END FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], [valid_from], count(*) FROM (SELECT DISTINCT [id], [valid_from], CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_0, CAST(CAST([dh_dead] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_1 FROM [sales].[_dh_stage_f461d8aef4b03955_points]) d GROUP BY [id], [valid_from] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_rows] ([id], [name], [valid_from], [valid_to], [is_current], [dh_same]) SELECT [id], [name], dh_since, CASE WHEN dh_dead = 1 THEN dh_since ELSE dh_next END, CASE WHEN dh_dead = 0 AND dh_next IS NULL THEN 1 ELSE 0 END, CASE WHEN dh_origin = 1 AND [valid_from] = dh_since AND (dh_next = dh_end OR (dh_next IS NULL AND dh_end IS NULL) OR dh_dead = 1) THEN 1 ELSE 0 END FROM (SELECT p5.*, lead(dh_since) OVER (PARTITION BY [id] ORDER BY dh_since) AS dh_next FROM (SELECT p4.*, min([valid_from]) OVER (PARTITION BY [id], dh_part) AS dh_since, row_number() OVER (PARTITION BY [id], dh_part ORDER BY [valid_from] DESC) AS dh_last FROM (SELECT p3.*, sum(dh_begins) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_part FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, CASE WHEN dh_was IS NULL OR dh_was <> dh_dead THEN 1 WHEN dh_dead = 1 THEN 0 WHEN CASE WHEN CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) = CAST(CAST(dh_0 AS NVARCHAR(max)) AS VARBINARY(max)) OR (CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL AND CAST(CAST(dh_0 AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL) THEN 0 ELSE 1 END = 1 THEN 1 ELSE 0 END AS dh_begins FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, lag(dh_dead) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_was, lag([name]) OVER (PARTITION BY [id] ORDER BY [valid_from]) AS dh_0 FROM (SELECT [id], [name], [valid_from], dh_end, dh_dead, dh_origin, row_number() OVER (PARTITION BY [id], [valid_from] ORDER BY dh_origin, CAST(CAST([id] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([valid_from] AS NVARCHAR(max)) AS VARBINARY(max))) AS dh_place FROM [sales].[_dh_stage_f461d8aef4b03955_points]) p1 WHERE dh_place = 1) p2) p3) p4) p5 WHERE dh_last = 1) p6 WHERE dh_dead = 0 OR dh_part = 1;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [valid_from], [valid_to], [is_current] FROM [sales].[_dh_stage_f461d8aef4b03955_rows] WHERE 1 = 1) s ON (t.[id] = s.[id] AND t.[valid_from] = s.[valid_from]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[valid_to] = s.[valid_to], t.[is_current] = s.[is_current] WHEN NOT MATCHED THEN INSERT ([id], [name], [valid_from], [valid_to], [is_current]) VALUES (s.[id], s.[name], s.[valid_from], s.[valid_to], s.[is_current]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_points];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_rows];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit

-- scd3
CREATE TABLE [sales].[_beam_datahub_ledger] (run_id NVARCHAR(200) NOT NULL, step NVARCHAR(200) NOT NULL, target NVARCHAR(400) NOT NULL, staging NVARCHAR(40) NOT NULL, owner NVARCHAR(1000) NOT NULL, begun_at NVARCHAR(40) NOT NULL, committed_at NVARCHAR(40), row_count BIGINT, PRIMARY KEY (run_id, step));
SELECT run_id, step, staging, owner, begun_at, committed_at FROM [sales].[_beam_datahub_ledger];
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out';
INSERT INTO [sales].[_beam_datahub_ledger] (run_id, step, target, staging, owner, begun_at) VALUES (N'run1', N'out', N'sales.orders', N'_dh_stage_f461d8aef4b03955_', N'OWNER', N'MOMENT');
-- begin
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_00000000] ([id] BIGINT NOT NULL, [name] NVARCHAR(max), [at] DATETIME2(6));
-- commit
-- 3 rows into [sales].[_dh_stage_f461d8aef4b03955_00000000]
SELECT row_count FROM [sales].[_beam_datahub_ledger] WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NOT NULL;
-- begin
UPDATE [sales].[_beam_datahub_ledger] SET committed_at = N'MOMENT', row_count = 3 WHERE run_id = N'run1' AND step = N'out' AND committed_at IS NULL;
SELECT count(*) FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_points] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6), [previous_name] NVARCHAR(max), [dh_origin] BIGINT);
CREATE TABLE [sales].[_dh_stage_f461d8aef4b03955_rows] ([id] BIGINT, [name] NVARCHAR(max), [at] DATETIME2(6), [previous_name] NVARCHAR(max));
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [at], [dh_origin]) SELECT [id], [name], [at], 0 FROM [sales].[_dh_stage_f461d8aef4b03955_00000000];
SELECT [id], [at], count(*) FROM (SELECT DISTINCT [id], [at], CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) AS dh_value_0 FROM [sales].[_dh_stage_f461d8aef4b03955_points]) d GROUP BY [id], [at] HAVING count(*) > 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST 1 ROWS ONLY;
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_points] ([id], [name], [at], [previous_name], [dh_origin]) SELECT t.[id], t.[name], t.[at], t.[previous_name], 1 FROM [sales].[orders] t JOIN (SELECT DISTINCT [id] FROM [sales].[_dh_stage_f461d8aef4b03955_points] WHERE dh_origin = 0) k ON t.[id] = k.[id];
INSERT INTO [sales].[_dh_stage_f461d8aef4b03955_rows] ([id], [name], [at], [previous_name]) SELECT [id], [name], [at], CASE WHEN dh_at_0 IS NOT NULL THEN dh_old_0 ELSE dh_kept_0 END FROM (SELECT p4.*, first_value([name]) OVER (PARTITION BY [id] ORDER BY CASE WHEN dh_place = dh_at_0 THEN 0 ELSE 1 END, dh_place) AS dh_old_0, first_value([previous_name]) OVER (PARTITION BY [id] ORDER BY dh_place DESC) AS dh_kept_0 FROM (SELECT p3.*, min(dh_other_0) OVER (PARTITION BY [id]) AS dh_at_0 FROM (SELECT p2.*, CASE WHEN CASE WHEN CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) = CAST(CAST(dh_newest_0 AS NVARCHAR(max)) AS VARBINARY(max)) OR (CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL AND CAST(CAST(dh_newest_0 AS NVARCHAR(max)) AS VARBINARY(max)) IS NULL) THEN 0 ELSE 1 END = 1 THEN dh_place END AS dh_other_0 FROM (SELECT p1.*, min(CASE WHEN dh_origin = 1 THEN dh_place END) OVER (PARTITION BY [id]) AS dh_there, first_value([name]) OVER (PARTITION BY [id] ORDER BY dh_place) AS dh_newest_0 FROM (SELECT [id], [name], [at], [previous_name], dh_origin, row_number() OVER (PARTITION BY [id] ORDER BY CASE WHEN [at] IS NULL THEN 1 ELSE 0 END, [at] DESC, dh_origin, CAST(CAST([id] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([name] AS NVARCHAR(max)) AS VARBINARY(max)), CAST(CAST([at] AS NVARCHAR(max)) AS VARBINARY(max))) AS dh_place FROM [sales].[_dh_stage_f461d8aef4b03955_points]) p1) p2 WHERE dh_there IS NULL OR dh_place <= dh_there) p3) p4) p5 WHERE dh_place = 1 AND dh_origin = 0;
MERGE INTO [sales].[orders] WITH (HOLDLOCK) t USING (SELECT [id], [name], [at], [previous_name] FROM [sales].[_dh_stage_f461d8aef4b03955_rows] WHERE 1 = 1) s ON (t.[id] = s.[id]) WHEN MATCHED THEN UPDATE SET t.[name] = s.[name], t.[at] = s.[at], t.[previous_name] = s.[previous_name] WHEN NOT MATCHED THEN INSERT ([id], [name], [at], [previous_name]) VALUES (s.[id], s.[name], s.[at], s.[previous_name]);
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_points];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_rows];
DROP TABLE IF EXISTS [sales].[_dh_stage_f461d8aef4b03955_00000000];
-- commit
