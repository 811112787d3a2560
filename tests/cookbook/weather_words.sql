-- Nobody said how bad fog is. Of equally hot days the first counts.
-- rejected: judged missing_reference 101
-- rows: years
SELECT year(date) AS year, weather <> 'sun' AS wet, count(*) AS days, sum(precipitation) AS water,
       max(CASE weather WHEN 'snow' THEN 3 WHEN 'rain' THEN 2 WHEN 'drizzle' THEN 1 ELSE 0 END) AS worst,
       min(date) FILTER (WHERE temp_max = hottest) AS hottest
FROM (SELECT *, max(temp_max) OVER (PARTITION BY year(date), weather <> 'sun') AS hottest
      FROM read_csv('{cases}/vega-datasets/data/seattle-weather.csv') WHERE weather <> 'fog')
GROUP BY ALL
