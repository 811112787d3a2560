-- rows: highest
SELECT * FROM read_csv('{cases}/vega-datasets/data/unemployment.tsv') ORDER BY rate DESC, id LIMIT 25
