"""A model as a page that draws in a browser: its graphs, its quizzes, the runtime, and what a visitor meets."""
