"""The two gRPC services as protobuf: links between peers and the control service.

Generated code (`make proto`) and its translation to the boundary; no protocol knowledge.
"""
