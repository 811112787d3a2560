-- rejected: typed cast_failed 557
-- rows: classes
SELECT switch_class AS p_class, Sex AS sex, count(*) AS n, count(*) FILTER (WHERE Survived = 1) AS survived, avg(try_cast(Age AS DOUBLE)) AS mean_age
FROM (SELECT *, CASE PClass WHEN '1st' THEN 'first' WHEN '2nd' THEN 'second' WHEN '3rd' THEN 'third' ELSE PClass END AS switch_class
      FROM read_csv('{cases}/great-expectations/test_sets/Titanic.csv', types = {Age: 'VARCHAR'}))
WHERE try_cast(Age AS DOUBLE) IS NOT NULL GROUP BY ALL
