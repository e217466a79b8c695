-- creates: foreign-key video_processing_status.fk_video_processing_status_video
-- gate: videos, video_processing_status
ALTER TABLE video_processing_status
    ADD CONSTRAINT fk_video_processing_status_video
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE,
    ALGORITHM=INPLACE, LOCK=NONE
