-- rows: films
SELECT "Major Genre" AS major_genre, "IMDB Rating" AS imdb_rating, "IMDB Votes" AS imdb_votes, Title ->> '$' AS title,
       CAST(strptime("Release Date", '%b %d %Y') AS DATE) AS released, "Worldwide Gross" - "Production Budget" AS profit
FROM read_json('{cases}/vega-datasets/data/movies.json')
WHERE "IMDB Rating" IS NOT NULL AND "Major Genre" IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY "Major Genre" ORDER BY "IMDB Rating" DESC, "IMDB Votes" DESC, Title ->> '$') <= 2
