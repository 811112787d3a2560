-- rows: reign_rows
SELECT name AS monarch, max(wheat) AS dearest, avg(wages) AS wages, count(*) AS years
FROM (SELECT year::BIGINT AS year, wheat, wages FROM read_json('{cases}/vega-datasets/data/wheat.json')) w
ASOF LEFT JOIN read_json('{cases}/vega-datasets/data/monarchs.json') m ON w.year >= m.start GROUP BY ALL
