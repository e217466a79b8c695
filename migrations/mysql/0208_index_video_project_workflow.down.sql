ALTER TABLE videos DROP INDEX idx_video_project_workflow,
    ALGORITHM=INPLACE, LOCK=NONE
