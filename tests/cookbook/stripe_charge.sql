-- rows: charges
SELECT d ->> '$.id' AS id, CAST(d ->> '$.amount' AS BIGINT) / 100 AS amount, to_timestamp(CAST(d ->> '$.created' AS BIGINT)) AS created,
       '***' AS name, d ->> '$.payment_method_details.card.brand' AS brand,
       repeat('*', length(d ->> '$.payment_method_details.card.fingerprint') - 4) || right(d ->> '$.payment_method_details.card.fingerprint', 4) AS fingerprint
FROM (SELECT CAST(content AS JSON) -> '$.resources.charge' AS d FROM read_text('{cases}/stripe/openapi/fixtures3.json'))
