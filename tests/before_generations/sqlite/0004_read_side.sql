-- No question uses it: a page of a date's orders is read by ticket, whatever their status. It cost a write for every change of an order.
DROP INDEX orders_open;
