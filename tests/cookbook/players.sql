-- rows: agreement
SELECT forms, count(*) AS players, sum(n) AS rows FROM (
    SELECT count(DISTINCT form) AS forms, count(*) AS n FROM (
        SELECT Name, Team, "Height(inches)" AS height, 'p' AS form FROM read_parquet('{cases}/dlt/tests/common/storages/samples/parquet/mlb_players.parquet')
        UNION ALL SELECT Name, Team, "Height(inches)", 'j' FROM read_json('{cases}/dlt/tests/common/storages/samples/jsonl/mlb_players.jsonl')
        UNION ALL SELECT trim(Name), trim(Team), "Height(inches)", 'c' FROM read_csv('{cases}/dlt/tests/common/storages/samples/csv/mlb_players.csv'))
    GROUP BY Name, Team, height) GROUP BY ALL
