-- The case's own answer.
-- rows: card_rows
SELECT CAST(c.number AS HUGEINT) AS digits, true AS valid
FROM (SELECT unnest(cases) AS c FROM read_json('{cases}/credit-cards/brand-cases.json')) WHERE c.luhn_valid AND c.plausible_pan
