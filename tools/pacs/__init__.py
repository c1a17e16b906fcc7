"""PACS (Li et al., ICCV 2017), from a copy that the user has: folders, and a teacher for it."""
