-- Decimal places of a currency (ISO 4217), so that an amount of 5634 in BHD can be read as 5.634. A test holds it against the contract.
CREATE FUNCTION doppio_analytics.currency_decimals(currency TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$body$
    SELECT CASE
        WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF',
                          'XPF') THEN 0
        WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
        WHEN currency IN ('CLF', 'UYW') THEN 4
        ELSE 2
    END
$body$;

COMMENT ON FUNCTION doppio_analytics.currency_decimals IS 'Decimal places of a currency (ISO 4217).';

-- The last column of every view that has a currency.
DO $body$
DECLARE
    view TEXT;
BEGIN
    FOR view IN
        SELECT table_name FROM information_schema.columns
        WHERE table_schema = 'doppio_analytics' AND column_name = 'currency'
        ORDER BY table_name
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE VIEW doppio_analytics.%I AS '
            'SELECT v.*, doppio_analytics.currency_decimals(v.currency) AS currency_decimals FROM (%s) v',
            view, rtrim(pg_get_viewdef(format('doppio_analytics.%I', view)::regclass), ';'));
        EXECUTE format(
            'COMMENT ON COLUMN doppio_analytics.%I.currency_decimals IS %L',
            view, 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.');
    END LOOP;
END
$body$;
