DROP TABLE processing_error_log;
