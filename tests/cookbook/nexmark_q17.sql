-- The case's own answer; its means have two digits after the point.
-- rows: days
SELECT v[1]::BIGINT AS auction, v[2]::DATE AS day, v[3]::BIGINT AS total_bids, v[4]::BIGINT AS rank1_bids, v[5]::BIGINT AS rank2_bids, v[6]::BIGINT AS rank3_bids,
       v[7]::BIGINT AS min_price, v[8]::BIGINT AS max_price, v[10]::DOUBLE / v[3]::BIGINT AS avg_price, v[10]::BIGINT AS sum_price
FROM (SELECT string_split(unnest(expected_lines_whitespace_separated), chr(9)) AS v FROM read_json('{cases}/nexmark/expected/q17.json'))
