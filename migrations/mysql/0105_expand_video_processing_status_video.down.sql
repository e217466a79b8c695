ALTER TABLE video_processing_status
    DROP FOREIGN KEY fk_video_processing_status_video,
    ALGORITHM=INPLACE, LOCK=NONE
