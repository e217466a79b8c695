cd /dev/shm/h13; D=fkm; . lib.sh; fresh; $M $D -e "create table projects (id varchar(36) primary key); insert into projects values ('p1'),('p2'); alter table videos add foreign key (project_id) references projects(id) on delete cascade, add key k2 (project_id, status)"
$M $D -e "show create table videos\G" | grep KEY
$M $D -e "alter table videos drop index k2" && echo dropped-plain
$M $D -e "show create table videos\G" | grep KEY
