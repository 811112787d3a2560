-- rows: members
SELECT "group", coalesce(person, name) AS person, age, height
FROM read_csv('{cases}/vega-datasets/data/lookup_groups.csv') g FULL JOIN (FROM read_csv('{cases}/vega-datasets/data/lookup_people.csv') WHERE age > 25) p ON person = name
