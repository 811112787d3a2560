-- The case's own answer.
-- rows: share_row
SELECT * FROM read_csv('{cases}/tpch-sf0.01/answers/q14.psv', delim = '|', header = true)
