-- The case's own answer.
-- rows: order_rows
SELECT * FROM read_csv('{cases}/jaffle-shop/expected/orders.csv')
