-- What data/shop.sqlite holds: sqlite3 shop.sqlite < shop.sql
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, since DATE);
CREATE TABLE articles (sku TEXT PRIMARY KEY, name TEXT NOT NULL, price DECIMAL(8,2) NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id BIGINT REFERENCES customers, placed_at TIMESTAMP, paid BOOLEAN);
CREATE TABLE order_lines (order_id BIGINT, line INTEGER, sku TEXT, quantity INTEGER, PRIMARY KEY (order_id, line));
CREATE TABLE tmp_import (line TEXT);
INSERT INTO customers VALUES (1, 'Orla', 'Galway', '2021-04-02'), (2, 'Piet', 'Gent', '2022-11-30'), (3, 'Runa', NULL, '2025-01-15');
INSERT INTO articles VALUES ('B-10', 'Bench', 89.5), ('L-20', 'Lamp', 24), ('S-30', 'Stool', 19.95);
INSERT INTO orders VALUES (100, 1, '2025-05-01 09:15:00', 1), (101, 3, '2025-05-02 18:40:30', 0), (102, 1, '2025-05-04 07:05:00', 1);
INSERT INTO order_lines VALUES (100, 1, 'B-10', 1), (100, 2, 'L-20', 2), (101, 1, 'S-30', 4), (102, 1, 'L-20', 1);
INSERT INTO tmp_import VALUES ('left over');
