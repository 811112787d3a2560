-- rows: largest
SELECT *, row_number() OVER (PARTITION BY year, cluster ORDER BY pop DESC) AS place
FROM read_json('{cases}/vega-datasets/data/gapminder.json') QUALIFY place <= 3
