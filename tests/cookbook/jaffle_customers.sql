-- The case's own answer.
-- rows: customer_rows
SELECT * FROM read_csv('{cases}/jaffle-shop/expected/customers.csv')
