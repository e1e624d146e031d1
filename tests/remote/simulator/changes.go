// SPDX-License-Identifier: BSD-3-Clause

// Changed areas of disks: QueryChangedDiskAreas, which the simulator lacks, and the change IDs of disks in snapshots. A
// file, read anew each time, tells what has been written to a disk so far and how to misbehave. A change ID is
// "UUID/N": N of the writes had been done.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// What the file holds.
type changes struct {
	UUID     string    `json:"uuid"`
	Capacity int64     `json:"capacity"`
	Writes   [][]int64 `json:"writes"` // start, length, and which disk of the machine it was, if not the first
	Step     int64     `json:"step"`   // an answer goes no further than this
	// From the After-th question on, counted anew where Serial changes: a fault, the end of the session that asks, or
	// an answer that cannot be ("offset", "length", "outside"; "once-..." only that once).
	Serial int    `json:"serial"`
	After  int    `json:"after"`
	Fault  string `json:"fault"`
	Expire bool   `json:"expire"`
	Lie    string `json:"lie"`
	// Privileges that the user has not, and whether the server is one from before 5.5.
	Denied []string `json:"denied"`
	Old    bool     `json:"old"`
}

func (c *changes) denies(privilege string) bool {
	for _, name := range c.Denied {
		if name == privilege {
			return true
		}
	}
	return false
}

var changeService = ref{Type: "ChangeService", Value: "ChangeService"}

// The call goes to an object of ours instead of the machine.
type QueryChangedDiskAreas struct {
	types.QueryChangedDiskAreasRequestType
	This ref
	Vm   ref
}

func (q *QueryChangedDiskAreas) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if err := d.DecodeElement(&q.QueryChangedDiskAreasRequestType, &start); err != nil {
		return err
	}
	q.Vm, q.This = q.QueryChangedDiskAreasRequestType.This, changeService
	return nil
}

type QueryChangedDiskAreasResponse struct {
	Returnval types.DiskChangeInfo `xml:"returnval"`
}
type queryBody struct {
	Res *QueryChangedDiskAreasResponse `xml:"QueryChangedDiskAreasResponse,omitempty"`
	fault
}

type ChangeService struct {
	mo.FileManager
	mu      sync.Mutex
	file    string
	serial  int
	asked   int
	expired map[string]bool
}

func newChangeService(file string) *ChangeService {
	s := &ChangeService{FileManager: mo.FileManager{Self: changeService}, file: file, expired: map[string]bool{}}
	if file != "" {
		for _, e := range simulator.Map.All("VirtualMachine") {
			for _, d := range disksOf(*e.(*simulator.VirtualMachine).Config) {
				s.resize(d)
				if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
					b.ChangeId = s.read().UUID + "/0"
				}
			}
		}
	}
	return s
}

// The hardware tells the disk's capacity.
func (s *ChangeService) resize(d *types.VirtualDisk) {
	if c := s.read(); c.Capacity > 0 {
		d.CapacityInKB, d.CapacityInBytes = c.Capacity/1024, c.Capacity
	}
}

func (s *ChangeService) read() *changes {
	var c changes
	if s.file == "" {
		return &c
	}
	text, err := os.ReadFile(s.file)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		log.Printf("changes: %s", err)
	}
	return &c
}

func refused(reason string, f types.BaseMethodFault) soap.HasFault {
	return &queryBody{fault: fault{simulator.Fault(reason, f)}}
}

// How many writes a change ID counts; false if it is not one of this disk.
func (c *changes) count(id string) (int, bool) {
	if id == "*" {
		return 0, true
	}
	slash := strings.LastIndex(id, "/")
	if slash < 0 || id[:slash] != c.UUID {
		return 0, false
	}
	n, err := strconv.Atoi(id[slash+1:])
	return n, err == nil && n >= 0 && n <= len(c.Writes)
}

func disksOf(config types.VirtualMachineConfigInfo) []*types.VirtualDisk {
	var disks []*types.VirtualDisk
	for _, d := range config.Hardware.Device {
		if disk, ok := d.(*types.VirtualDisk); ok {
			disks = append(disks, disk)
		}
	}
	return disks
}

func (s *ChangeService) QueryChangedDiskAreas(ctx *simulator.Context, q *QueryChangedDiskAreas) soap.HasFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.read()
	if c.Serial != s.serial {
		s.serial, s.asked = c.Serial, 0
	}
	s.asked++
	if s.expired[ctx.Session.Key] {
		return refused("", &types.NotAuthenticated{})
	}
	misbehave := c.After > 0 && s.asked >= c.After
	if misbehave && c.Expire && s.asked == c.After {
		log.Printf("session %s expires", ctx.Session.Key)
		s.expired[ctx.Session.Key] = true
		return refused("", &types.NotAuthenticated{})
	}
	switch {
	case misbehave && c.Fault == "FileFault":
		return refused("Error caused by file", &types.FileFault{File: "x.vmdk"})
	case misbehave && c.Fault == "NotFound":
		return refused("The object or item referred to could not be found.", &types.NotFound{})
	case misbehave && c.Fault == "NoPermission":
		return refused("Permission to perform this operation was denied.", &types.NoPermission{PrivilegeId: "VirtualMachine.Config.ChangeTracking"})
	case misbehave && c.Fault == "HostCommunication":
		return refused("Unable to communicate with the remote host.", &types.HostCommunication{})
	}
	from, known := c.count(q.ChangeId)
	if !known {
		return refused("A specified parameter was not correct: changeId", &types.InvalidArgument{InvalidProperty: "changeId"})
	}
	if q.StartOffset < 0 || q.StartOffset >= c.Capacity {
		return refused("A specified parameter was not correct: startOffset", &types.InvalidArgument{InvalidProperty: "startOffset"})
	}
	disk, err := s.disk(q.Vm, q.DeviceKey)
	if err != nil {
		return refused("", err)
	}
	to := len(c.Writes)
	if q.Snapshot != nil {
		snapshot, ok := simulator.Map.Get(*q.Snapshot).(*simulator.VirtualMachineSnapshot)
		if !ok {
			return refused("", &types.ManagedObjectNotFound{Obj: *q.Snapshot})
		}
		for _, d := range disksOf(snapshot.Config) {
			if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && d.Key == q.DeviceKey {
				if n, known := c.count(b.ChangeId); known {
					to = n
				}
			}
		}
	}
	return &queryBody{Res: &QueryChangedDiskAreasResponse{c.answer(disk, q.StartOffset, from, to, misbehave, misbehave && s.asked == c.After)}}
}

// Which of the machine's disks has a key, 0 the first.
func (s *ChangeService) disk(vm ref, key int32) (int64, types.BaseMethodFault) {
	machine, ok := simulator.Map.Get(vm).(*simulator.VirtualMachine)
	if !ok {
		return 0, &types.ManagedObjectNotFound{Obj: vm}
	}
	for i, d := range disksOf(*machine.Config) {
		if d.Key == key {
			return int64(i), nil
		}
	}
	return 0, &types.InvalidArgument{InvalidProperty: "deviceKey"}
}

// Adds disks to each machine, so that it has n: disk2.vmdk and so on beside the first one.
func addDisks(n int) {
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		vm.Capability.SnapshotOperationsSupported = true
		first := disksOf(*vm.Config)[0]
		for i := 2; i <= n; i++ {
			disk, backing := *first, *first.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			backing.FileName = strings.Replace(backing.FileName, "disk1.vmdk", fmt.Sprintf("disk%d.vmdk", i), 1)
			backing.Uuid = fmt.Sprintf("6000c298-0000-4000-8000-%012d", i)
			disk.Backing = &backing
			disk.Key = first.Key + int32(i) - 1
			unit := int32(i)
			disk.UnitNumber = &unit
			vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, &disk)
		}
	}
}

// The interval that begins at start, with what was written in it.
func (c *changes) answer(disk, start int64, from, to int, lie, first bool) types.DiskChangeInfo {
	end := c.Capacity
	if c.Step > 0 && start+c.Step < end {
		end = start + c.Step
	}
	info := types.DiskChangeInfo{StartOffset: start, Length: end - start}
	for _, w := range c.Writes[from:to] {
		if len(w) > 2 && w[2] != disk || len(w) == 2 && disk != 0 {
			continue
		}
		a, b := w[0], w[0]+w[1]
		if a < start {
			a = start
		}
		if b > end {
			b = end
		}
		if a < b {
			info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: a, Length: b - a})
		}
	}
	kind := c.Lie
	if strings.HasPrefix(kind, "once-") {
		kind, lie = strings.TrimPrefix(kind, "once-"), first
	}
	switch {
	case lie && kind == "offset":
		info.StartOffset += 65536
	case lie && kind == "length":
		info.Length = 0
	case lie && kind == "outside":
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: start - 65536, Length: 65536})
	}
	return info
}

// ---- change IDs: each snapshot keeps disks of its own, as they are now ----

func (s *ChangeService) PutObject(o mo.Reference) {
	snapshot, ok := o.(*simulator.VirtualMachineSnapshot)
	if !ok || s.file == "" {
		return
	}
	c := s.read()
	devices := append([]types.BaseVirtualDevice{}, snapshot.Config.Hardware.Device...)
	for i, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			copied := *disk
			if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				backing := *b
				backing.ChangeId = ""
				if c.UUID != "" {
					backing.ChangeId = fmt.Sprintf("%s/%d", c.UUID, len(c.Writes))
				}
				copied.Backing = &backing
			}
			s.resize(&copied)
			devices[i] = &copied
		}
	}
	snapshot.Config.Hardware.Device = devices
}

func (s *ChangeService) UpdateObject(mo.Reference, []types.PropertyChange) {}
func (s *ChangeService) RemoveObject(types.ManagedObjectReference)         {}
