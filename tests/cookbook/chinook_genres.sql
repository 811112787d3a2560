-- rows: genre_rows
WITH d AS (FROM read_json('{cases}/chinook/ChinookData.json.gz', maximum_object_size = 100000000)),
     l AS (SELECT unnest(InvoiceLine, recursive := true) FROM d), t AS (SELECT unnest(Track, recursive := true) FROM d),
     g AS (SELECT unnest(Genre, recursive := true) FROM d)
SELECT g.Name AS genre, sum(l.UnitPrice * Quantity) AS revenue, sum(Quantity) AS sold, count(DISTINCT t.Name) AS tracks
FROM l JOIN t USING (TrackId) JOIN g USING (GenreId) GROUP BY ALL
