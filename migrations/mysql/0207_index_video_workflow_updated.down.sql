ALTER TABLE videos DROP INDEX idx_video_workflow_updated,
    ALGORITHM=INPLACE, LOCK=NONE
