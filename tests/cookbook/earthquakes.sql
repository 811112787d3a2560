-- rows: strong
SELECT f.id, epoch_ms(f.properties.time) AS at, f.properties.mag AS magnitude, f.properties.place AS place, f.geometry.coordinates[1] AS longitude,
       f.geometry.coordinates[2] AS latitude, f.geometry.coordinates[3] AS depth
FROM (SELECT unnest(features) AS f FROM read_json('{cases}/vega-datasets/data/earthquakes.json')) WHERE f.properties.mag >= 4.5
-- rows: felt
SELECT f.id, epoch_ms(f.properties.time) AS at, f.properties.mag AS magnitude, f.properties.place AS place, f.geometry.coordinates[1] AS longitude,
       f.geometry.coordinates[2] AS latitude, f.geometry.coordinates[3] AS depth
FROM (SELECT unnest(features) AS f FROM read_json('{cases}/vega-datasets/data/earthquakes.json')) WHERE f.properties.mag >= 2.5 AND f.properties.mag < 4.5
-- rows: weak
SELECT f.id, epoch_ms(f.properties.time) AS at, f.properties.mag AS magnitude, f.properties.place AS place, f.geometry.coordinates[1] AS longitude,
       f.geometry.coordinates[2] AS latitude, f.geometry.coordinates[3] AS depth
FROM (SELECT unnest(features) AS f FROM read_json('{cases}/vega-datasets/data/earthquakes.json')) WHERE f.properties.mag < 2.5
-- rows: unknown
SELECT f.id, epoch_ms(f.properties.time) AS at, f.properties.mag AS magnitude, f.properties.place AS place, f.geometry.coordinates[1] AS longitude,
       f.geometry.coordinates[2] AS latitude, f.geometry.coordinates[3] AS depth
FROM (SELECT unnest(features) AS f FROM read_json('{cases}/vega-datasets/data/earthquakes.json')) WHERE f.properties.mag IS NULL
