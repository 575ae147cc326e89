//! Record batches in the layout of Kafka's RecordBatch v2.
