-- rows: prices
WITH s AS (SELECT symbol, CAST(strptime(date, '%b %d %Y') AS DATE) AS date, price FROM read_csv('{cases}/vega-datasets/data/stocks.csv', types = {date: 'VARCHAR'})),
     i AS (SELECT CAST(strptime(date, '%b %d %Y') AS DATE) AS since, price AS level FROM read_csv('{cases}/vega-datasets/data/sp500.csv', types = {date: 'VARCHAR'}))
SELECT symbol, date, price, since, level FROM s ASOF LEFT JOIN (FROM i WHERE month(since) IN (3, 6, 9, 12)) i ON s.date >= i.since
