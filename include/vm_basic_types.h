/* SPDX-License-Identifier: BSD-3-Clause */
/* vm_basic_types.h - the integer and boolean types of the VixDiskLib interface.
 *
 * Bool is one byte: read only its low byte, any non-zero value is true. */
#ifndef _VM_BASIC_TYPES_H_
#define _VM_BASIC_TYPES_H_

#ifndef _XTYPEDEF_BOOL
#define _XTYPEDEF_BOOL
typedef char Bool;
#endif

#ifndef FALSE
#define FALSE 0
#endif
#ifndef TRUE
#define TRUE 1
#endif

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef signed char int8;
typedef short int16;
typedef int int32;

#if defined(__LP64__) || defined(_LP64)
typedef unsigned long uint64;
typedef long int64;
#else
typedef unsigned long long uint64;
typedef long long int64;
#endif

#endif /* _VM_BASIC_TYPES_H_ */
