-- rows: states
SELECT f.state AS origin_state, t.state AS destination_state, sum(r.count) AS flights, count(*) AS routes, count(DISTINCT f.city) AS cities,
       row_number() OVER (PARTITION BY f.state ORDER BY sum(r.count) DESC, t.state, count(*), count(DISTINCT f.city)) AS place
FROM read_csv('{cases}/vega-datasets/data/flights-airport.csv') r
JOIN read_csv('{cases}/vega-datasets/data/airports.csv') f ON r.origin = f.iata
JOIN read_csv('{cases}/vega-datasets/data/airports.csv') t ON r.destination = t.iata
GROUP BY f.state, t.state
QUALIFY place <= 3
