-- The case's own answer.
-- rows: auction_rows
SELECT regexp_extract(line, '^(\d+) ', 1)::BIGINT AS auction_id, regexp_extract(line, '^\d+ (.*)$', 1) AS auction_item_name
FROM (SELECT unnest(expected_lines_whitespace_separated) AS line FROM read_json('{cases}/nexmark/expected/q104.json'))
