-- The case's own answer.
-- rows: summary_rows
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q01.psv', delim = '|', header = true)
