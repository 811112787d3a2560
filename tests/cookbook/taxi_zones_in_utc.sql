-- rows: zones
SELECT pickup_location_id, timezone('America/New_York', pickup_datetime) AS started_at, total_amount
FROM read_csv('{cases}/great-expectations/test_sets/taxi_yellow_tripdata_samples/yellow_tripdata_sample_2019-01.csv', strict_mode = false)
QUALIFY row_number() OVER (PARTITION BY pickup_location_id ORDER BY pickup_datetime, vendor_id, dropoff_datetime, passenger_count, trip_distance, rate_code_id, store_and_fwd_flag, dropoff_location_id) = 1
