-- The case's own answer.
-- rows: customers
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q10.psv', delim = '|', header = true)
