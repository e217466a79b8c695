-- The platform's tables as its ORM makes them (`orm_platform.py`, SQLAlchemy), in words that
-- MySQL, MariaDB and SQLite take alike. Defaults without a DEFAULT are the ORM's own.
CREATE TABLE projects (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    status VARCHAR(255),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME
);
CREATE INDEX ix_projects_name ON projects (name);
CREATE INDEX ix_projects_status ON projects (status);
CREATE INDEX ix_projects_created_at ON projects (created_at);

CREATE TABLE videos (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    filename VARCHAR(255) NOT NULL,
    file_path VARCHAR(500) NOT NULL,
    file_size INTEGER,
    duration FLOAT,
    fps FLOAT,
    resolution VARCHAR(255),
    status VARCHAR(255),
    processing_status VARCHAR(255),
    ground_truth_generated BOOLEAN,
    project_id VARCHAR(36) NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME,
    FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE INDEX ix_videos_filename ON videos (filename);
CREATE INDEX ix_videos_status ON videos (status);
CREATE INDEX ix_videos_processing_status ON videos (processing_status);
CREATE INDEX ix_videos_ground_truth_generated ON videos (ground_truth_generated);
CREATE INDEX ix_videos_project_id ON videos (project_id);
CREATE INDEX ix_videos_created_at ON videos (created_at);
CREATE INDEX idx_video_project_status ON videos (project_id, status);
CREATE INDEX idx_video_project_created ON videos (project_id, created_at);
CREATE INDEX idx_video_ground_truth_status ON videos (ground_truth_generated, processing_status);
CREATE INDEX idx_video_file_path ON videos (file_path);
CREATE INDEX idx_video_duration_fps ON videos (duration, fps);
CREATE INDEX idx_video_size_resolution ON videos (file_size, resolution);

CREATE TABLE ground_truth_objects (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    timestamp FLOAT NOT NULL,
    class_label VARCHAR(255) NOT NULL,
    bounding_box JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE INDEX ix_ground_truth_objects_video_id ON ground_truth_objects (video_id);
CREATE INDEX ix_ground_truth_objects_timestamp ON ground_truth_objects (timestamp);

CREATE TABLE annotations (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    frame_number INTEGER,
    notes TEXT,
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE INDEX ix_annotations_video_id ON annotations (video_id);
