DROP TABLE video_processing_status;
