-- rows: symbols
SELECT symbol, count(*) AS n, min(price) AS lo, max(price) AS hi, avg(price) AS mean, arg_max(price, strptime(date, '%b %d %Y')) AS last
FROM read_csv('{cases}/vega-datasets/data/stocks.csv', types = {price: 'DOUBLE', date: 'VARCHAR'}) GROUP BY ALL
