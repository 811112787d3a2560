-- rows: industries
SELECT industry, year(month) AS year, avg(thousands) AS mean, min(thousands) AS least
FROM (UNPIVOT (SELECT month, construction::DOUBLE AS construction, manufacturing::DOUBLE AS manufacturing, utilities::DOUBLE AS utilities,
                      information::DOUBLE AS information, government::DOUBLE AS government
               FROM read_csv('{cases}/vega-datasets/data/us-employment.csv'))
      ON construction, manufacturing, utilities, information, government INTO NAME industry VALUE thousands)
GROUP BY ALL
