-- rows: months
SELECT location, strftime(date, '%Y-%m') AS month,
       count(*) FILTER (WHERE weather = 'rain') AS rain_days, sum(precipitation) FILTER (WHERE weather = 'rain') AS rain_water,
       count(*) FILTER (WHERE weather = 'sun') AS sun_days, sum(precipitation) FILTER (WHERE weather = 'sun') AS sun_water,
       count(*) FILTER (WHERE weather = 'snow') AS snow_days, sum(precipitation) FILTER (WHERE weather = 'snow') AS snow_water,
       count(*) FILTER (WHERE weather = 'fog') AS fog_days, sum(precipitation) FILTER (WHERE weather = 'fog') AS fog_water,
       count(*) FILTER (WHERE weather = 'drizzle') AS drizzle_days, sum(precipitation) FILTER (WHERE weather = 'drizzle') AS drizzle_water
FROM read_csv('{cases}/vega-datasets/data/weather.csv') GROUP BY ALL
