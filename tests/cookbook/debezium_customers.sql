-- rejected: rows validation_failed 1
-- rows: customers
SELECT CAST(coalesce(p -> '$.after' ->> '$.id', p -> '$.before' ->> '$.id') AS INTEGER) AS id,
       coalesce(p -> '$.after' ->> '$.first_name', p -> '$.before' ->> '$.first_name') AS first_name,
       coalesce(p -> '$.after' ->> '$.last_name', p -> '$.before' ->> '$.last_name') AS last_name,
       coalesce(p -> '$.after' ->> '$.email', p -> '$.before' ->> '$.email') AS email,
       p ->> '$.op' AS __op, p ->> '$.op' = 'd' AS __deleted, CAST(p ->> '$.source.pos' AS BIGINT) AS __position,
       epoch_ms(CAST(p ->> '$.source.ts_ms' AS BIGINT)) AS __committed_at
FROM (SELECT CAST(content AS JSON) -> '$.payload' AS p FROM read_text('{cases}/debezium/doc-events/shared-mariadb-mysql-0[678].json'))
