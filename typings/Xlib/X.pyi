NONE: int
AnyPropertyType: int
KeyPress: int
KeyRelease: int
RevertToNone: int
CurrentTime: int
CopyFromParent: int
