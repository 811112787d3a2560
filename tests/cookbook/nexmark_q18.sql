-- rows: last_bids
SELECT * FROM read_csv('{cases}/nexmark/bid.csv') QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, extra) = 1
