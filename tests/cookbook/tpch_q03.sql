-- The case's own answer.
-- rows: orders_rows
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q03.psv', delim = '|', header = true)
