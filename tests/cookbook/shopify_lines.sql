-- rows: order_lines
SELECT o.id AS order_id, o.customer.id AS customer_id, o.shipping_address.city AS city, o.created_at::TIMESTAMPTZ AS placed_at,
       generate_subscripts(o.line_items, 1) AS line, unnest(o.line_items).sku AS sku, unnest(o.line_items).quantity AS quantity,
       unnest(o.line_items).price::DECIMAL(12,2) AS price
FROM (SELECT "order" AS o FROM read_json('{cases}/shopify/order.json'))
