ALTER TABLE processing_error_log
    DROP FOREIGN KEY fk_processing_error_log_video,
    ALGORITHM=INPLACE, LOCK=NONE
