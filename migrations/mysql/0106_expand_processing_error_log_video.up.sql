-- creates: foreign-key processing_error_log.fk_processing_error_log_video
-- gate: videos, processing_error_log
ALTER TABLE processing_error_log
    ADD CONSTRAINT fk_processing_error_log_video
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE,
    ALGORITHM=INPLACE, LOCK=NONE
